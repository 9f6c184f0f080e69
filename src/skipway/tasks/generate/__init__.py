"""Image generation: networks that turn noise into images (flow matching)."""
