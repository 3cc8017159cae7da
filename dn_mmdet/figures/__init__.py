"""Pictures: curves, detections, galleries of classes, alpha and lambda."""

__all__ = []
