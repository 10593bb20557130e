"""The contract of every projector: line integrals through an image, their adjoint, and subsets of the views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy

import torch


class Projector(ABC):
    """A linear operator from images [z, y, x] to data; `adjoint` is its exact transpose.

    Data of a scanner are [plane, view, tangential], with a last axis of TOF bins where there are any. All tensors are
    float32 and live on `device`. Values are line integrals: mm times the image's unit.
    """

    name: str
    image_shape: tuple[int, int, int]
    data_shape: tuple[int, ...]
    views: torch.Tensor  # which views of the whole data this projector has, in their order: data[:, views]
    view_axis = 1
    device: torch.device
    subset_count = 1
    _subsets: dict[int, Projector]

    @abstractmethod
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Line integrals of `image`: data of `data_shape`."""

    @abstractmethod
    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        """The transpose of `forward`: an image of `image_shape`."""

    @abstractmethod
    def over_views(self, views: torch.Tensor) -> Projector:
        """The same projector for `views` alone (indices into this projector's own views)."""

    def with_subsets(self, count: int) -> Projector:
        """This projector with its views shared out to `count` interleaved subsets."""
        shared = copy(self)
        shared.subset_count, shared._subsets = count, {}
        return shared

    def subset(self, index: int) -> Projector:
        """The projector of every `subset_count`-th view from `index` on; its data are data[:, subset.views]."""
        if not 0 <= index < self.subset_count:
            raise IndexError(f"subset {index} of {self.subset_count}")
        if self.subset_count == 1:
            return self
        if index not in self._subsets:
            views = torch.arange(index, self.data_shape[self.view_axis], self.subset_count)
            self._subsets[index] = self.over_views(views)
        return self._subsets[index]
