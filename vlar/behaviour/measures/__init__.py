"""Figures of labelled spans: time budgets, agreement of raters, drawings and pages of both."""
