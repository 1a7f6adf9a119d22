from .build import publish
from .claims import Claim, Edition, read_claims, read_edition
from .printing import write_pdf
from .verdicts import Finding, judge, verdict

__all__ = ["Claim", "Edition", "Finding", "judge", "publish", "read_claims", "read_edition", "verdict", "write_pdf"]
