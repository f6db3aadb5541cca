"""CiMEU: culture-independent multimodal emotion understanding."""
