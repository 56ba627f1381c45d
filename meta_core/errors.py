"""What can go wrong in the core, by name. The service maps these to answers; nothing here knows of HTTP."""


class MetaCoreError(Exception):
    """Root of every error this package raises on purpose; its text is written for the person who sent the input."""


class InvalidSupportSet(MetaCoreError):
    """The labelled examples cannot be adapted to: a class without an example, fewer than two classes, other shapes."""


class InvalidOptions(MetaCoreError):
    """An adaptation option that the learner does not have, or a value outside its card's limits."""


class NotAClassifier(MetaCoreError):
    """A regression was to be shown labelled pictures."""


class AdaptationDiverged(MetaCoreError):
    """Adaptation or prediction left the finite numbers: steps too long, or inputs beyond what the model can take."""


class UndecodableImage(MetaCoreError):
    """The bytes are not one still picture of a supported format."""


class ImageTooLarge(UndecodableImage):
    """The picture's header announces more pixels than the limit; it was not decoded."""


class InvalidDataset(MetaCoreError):
    """Labelled pictures on disk that cannot be read, or that hold too little for what was asked."""


class OverlappingSplits(InvalidDataset):
    """Two splits share a class or a picture, so a figure measured on one would not be of unseen classes."""


class InvalidRecipe(MetaCoreError):
    """A recipe that does not describe a training run."""


class InvalidDevices(MetaCoreError):
    """More devices than there are, or than a step has tasks to share."""


class ProcessLost(MetaCoreError):
    """One of a training's processes died."""


class InvalidCheckpoint(MetaCoreError):
    """A model folder that is damaged, incomplete, of another format, or not the one its card describes."""


class InvalidClassifierFile(MetaCoreError):
    """An exported classifier that is damaged, of another format, or of another model than the one at hand."""


class InvalidWeights(MetaCoreError):
    """Pretrained weights that cannot be had or read, or that are another network's."""


class UnknownName(MetaCoreError):
    """No learner, backbone or task source is registered under the name."""


class MissingDevice(MetaCoreError):
    """A device is asked for by name, and there is none."""


class MissingExtra(MetaCoreError):
    """A package of an optional extra is needed and not installed."""
