"""What the engine reports, in words for the panel."""

from slicer.i18n import tr as _


def ofInfo(info):
    """What was found in the engine's Python."""
    found = [f"Python {info['python']}", f"PyTorch {info['torch']}" if info["torch"] else _("no PyTorch")]
    found.append(_("devices: {names}").format(names=", ".join(info["devices"]) or _("none")))
    found.append("parallelproj" if info["parallelproj"] else _("no parallelproj (not needed)"))
    return ", ".join(found)


def ofCard(card):
    """Licence and training domain of a model."""
    if not card:
        return _("No model is installed for this method.")
    words = [_('Licence: <a href="{url}">{name}</a>.').format(**card["licence"])]
    tracers, doses = card["training"]["tracers"], card["training"]["dose_range"]
    domain = [", ".join(tracers)] if isinstance(tracers, list) and tracers else []
    if isinstance(doses, list) and len(doses) == 2:  # a prior knows no dose, and who trains on own pairs tells none
        domain.append(_("{lowest} to {highest} of the full dose").format(lowest=doses[0], highest=doses[1]))
    if domain:
        words.append(_("Trained on {domain}.").format(domain="; ".join(domain)))
    return " ".join(words)


def ofProgress(job):
    """Stage, and the time left where it is known."""
    if job.secondsLeft is None:
        return job.stage
    minutes, seconds = divmod(int(job.secondsLeft), 60)
    left = _("{minutes} min {seconds} s left") if minutes else _("{seconds} s left")
    return f"{job.stage}, {left.format(minutes=minutes, seconds=seconds)}"
