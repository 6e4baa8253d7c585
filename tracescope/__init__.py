"""Tracescope: an OpenTelemetry trace bottleneck analyzer."""

__version__ = "0.1.0"
