"""What is wrong with files that another person made; nothing of them is run or built."""

from vlar.audit.audit import Audit, audit
from vlar.audit.finding import Finding

__all__ = ["Audit", "Finding", "audit"]
