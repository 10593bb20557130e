"""Licences of models that want to be accepted: asked for once on a computer, and again when the weights change."""

import qt
import slicer
from slicer.i18n import tr as _

from .engine import Cancelled


def requireAccepted(card) -> None:
    """Ask for the licence of a model's card where it must be accepted. Raises Cancelled where the user does not."""
    if not card or not card["licence"]["must_accept"]:
        return
    key = f"PETDiffusion/acceptedLicences/{card['sha256']}"
    if slicer.util.settingsValue(key, False, converter=slicer.util.toBool):
        return
    question = _(
        '<p>The model <b>{title}</b> may be used under this licence:</p><p><a href="{url}">{name}</a></p>'
        "<p>Do you accept it?</p>"
    )
    words = question.format(title=card["title"], **card["licence"])
    if not slicer.util.confirmYesNoDisplay(words, windowTitle=_("Licence of the model")):
        raise Cancelled(_("The model's licence was not accepted, so nothing was computed."))
    qt.QSettings().setValue(key, True)
