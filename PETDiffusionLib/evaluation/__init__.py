"""How good an image is: metrics on arrays, a report on SimpleITK images, and the comparison picture."""

from PETDiffusionLib.evaluation.pictures import comparison_picture, write_picture
from PETDiffusionLib.evaluation.report import evaluate, format_report

__all__ = ["comparison_picture", "evaluate", "format_report", "write_picture"]
