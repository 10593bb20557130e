"""The layout that compares volumes side by side, axial above coronal, with linked slices."""

import slicer

LAYOUT_ID = 50317  # a number of our own among the user layouts
VIEW_GROUP = 317  # so that linking leaves Slicer's other views alone
ORIENTATIONS = {"Axial": "#F34A33", "Coronal": "#6EB04B"}  # in Slicer's own colours


def viewName(orientation, column) -> str:
    """The layout name of a view; columns are counted from 0."""
    return f"PETDiffusion{orientation}{column}"


def showComparison(volumes):
    """Open the layout with a column for each of the volumes (title -> node); the views' names.

    Does nothing and returns [] where the application has no views.
    """
    layoutManager = slicer.app.layoutManager()
    if layoutManager is None:
        return []
    _describeLayout(layoutManager.layoutLogic().GetLayoutNode(), list(volumes))
    layoutManager.setLayout(LAYOUT_ID)
    views = {
        viewName(orientation, column): (orientation, volume)
        for orientation in ORIENTATIONS
        for column, volume in enumerate(volumes.values())
    }
    for name, (orientation, volume) in views.items():
        _fillView(layoutManager.sliceWidget(name).sliceLogic(), orientation, volume)
    for name in views:  # only now: what was set above was for one view alone
        composite = layoutManager.sliceWidget(name).sliceLogic().GetSliceCompositeNode()
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)  # the others follow while the mouse moves, not when it is let go
    return list(views)


def _fillView(sliceLogic, orientation, volume) -> None:
    composite = sliceLogic.GetSliceCompositeNode()
    composite.SetLinkedControl(False)
    composite.SetBackgroundVolumeID(volume.GetID())
    composite.SetForegroundVolumeID(None)
    composite.SetLabelVolumeID(None)
    sliceLogic.GetSliceNode().SetOrientation(orientation)
    sliceLogic.FitSliceToBackground()


def _describeLayout(layoutNode, titles) -> None:
    rows = [
        "".join(_describeView(orientation, column, title) for column, title in enumerate(titles))
        for orientation in ORIENTATIONS
    ]
    items = "".join(f'<item><layout type="horizontal">{views}</layout></item>' for views in rows)
    description = f'<layout type="vertical">{items}</layout>'
    if layoutNode.IsLayoutDescription(LAYOUT_ID):
        layoutNode.SetLayoutDescription(LAYOUT_ID, description)
    else:
        layoutNode.AddLayoutDescription(LAYOUT_ID, description)


def _describeView(orientation, column, title) -> str:
    properties = {
        "orientation": orientation,
        "viewlabel": title,
        "viewcolor": ORIENTATIONS[orientation],
        "viewgroup": VIEW_GROUP,
    }
    tags = "".join(f'<property name="{name}" action="default">{value}</property>' for name, value in properties.items())
    return f'<item><view class="vtkMRMLSliceNode" singletontag="{viewName(orientation, column)}">{tags}</view></item>'
