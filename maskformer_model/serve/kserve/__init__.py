"""KServe's v2 protocol (Open Inference Protocol), over HTTP and gRPC, beside TensorFlow Serving's form."""
