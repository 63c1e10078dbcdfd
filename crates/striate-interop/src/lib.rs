//! Model files in and out: safetensors and ONNX
