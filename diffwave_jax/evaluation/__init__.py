"""Evaluation: metrics of generated speech, and the table and pictures that show them."""
