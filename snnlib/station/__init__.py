"""The station: from photographs or maps to a verdict, and to small hardware.

`inspection` holds the station itself, `limits` where its limit may lie, `folders` photographs of
one's own, and `deployment` ONNX files. This room knows nothing of any part that is inspected.
"""
