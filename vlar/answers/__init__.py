"""Answers as files: cut spans, sheets and pages of pictures, tables, edit lists, play lists."""
