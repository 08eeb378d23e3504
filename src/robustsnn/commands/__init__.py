"""What each command of the command line does."""

from robustsnn.commands.completing import complete
from robustsnn.commands.looking import NotReady, compare, doctor, info, is_run, show, speed
from robustsnn.commands.running import CONTINUES, STAGES, AuditFailed, evaluate_checkpoint, leave, stage

__all__ = [
    "CONTINUES",
    "STAGES",
    "AuditFailed",
    "NotReady",
    "compare",
    "complete",
    "doctor",
    "evaluate_checkpoint",
    "info",
    "is_run",
    "leave",
    "show",
    "speed",
    "stage",
]
