"""Stand-in for slicer.i18n: marks strings for translation and asks the application for it."""

import slicer


def translate(context, text):
    return slicer.app.translate(context, text)


def tr(text):
    return translate("", text)
