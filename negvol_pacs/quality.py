"""Why a number is missing or doubtful."""

from enum import StrEnum


class QualityFlag(StrEnum):
    """Coded reason; the value is the sentence that a reader of the report sees."""

    COARSE_SPACING = "Slice spacing too coarse for a joint space"
    NOT_HOUNSFIELD = "Grey values are not calibrated Hounsfield units"
    JOINT_OUTSIDE_FIELD = "Joint outside the field of view"
    JOINT_NOT_FOUND = "Joint not found"
    PART_OUTSIDE_FIELD = "Part of the joint outside the field of view"
    SEGMENTATION_DOUBTFUL = "Segmentation doubtful"
    SMALLER_WINDOWS = "Segmented in smaller windows: the GPU's memory was short"
    IMAGE_NOISY = "Image too noisy around the joint"
    SURFACES_UNCLEAR = "Bone surfaces unclear in the image"
    BONE_CONTACT = "Condyle and temporal bone touch"
    FOSSA_NOT_FOUND = "Fossa landmarks not found"
    CONDYLE_ROUND = "Condylar head too round for a long axis"
    NECK_TOO_SHORT = "Too little of the condylar neck"
    CONDYLE_OUTSIDE_FOSSA = "Condyle outside the fossa"
    NOT_CLOSED = "Negative volume not a closed surface"
    NOT_CONVERGED = "Inflation did not converge"
    SKULL_UNLIKE = "No mid-sagittal plane: the temporal bones are too unlike"
    OTHER_SIDE_MISSING = "The other joint is missing"
    DIFFERENT_METHOD = "The prior study was measured by another version or other weights"
    COMPUTATION_FAILED = "Computation failed"
