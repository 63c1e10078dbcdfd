"""Measures what runs the exported ONNX file: python -m peers.onnx_peers JOB

A mode is one of onnxruntime, openvino, openvino-streams (the batch divided among streams of one thread each).
"""

import numpy

from .measuring import serve


def prepare(job):
    return {"onnxruntime": onnxruntime, "openvino": openvino, "openvino-streams": openvino_streams}[job.mode](job)


def onnxruntime(job):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_free_dimension_override_by_name("batch", job.batch)
    session = ort.InferenceSession(job.file("model.onnx"), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(job.images()))
    binding.bind_output("logits", "cpu")

    def step():
        session.run_with_iobinding(binding)

    step()
    return step, binding.copy_outputs_to_cpu()[0]


def openvino(job, streams=1):
    """Each of so many streams computes an equal part of the batch at the same time."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(job.file("model.onnx"))
    parts = numpy.split(job.images(), streams)
    model.reshape(list(parts[0].shape))
    settings = {
        "INFERENCE_NUM_THREADS": job.threads,
        "INFERENCE_PRECISION_HINT": job.precision,
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": streams,
    }
    compiled = core.compile_model(model, "CPU", settings)
    requests = [compiled.create_infer_request() for _ in parts]
    for request, part in zip(requests, parts):
        request.get_input_tensor().data[:] = part

    def step():
        for request in requests:
            request.start_async()
        for request in requests:
            request.wait()

    step()
    return step, numpy.concatenate([request.get_output_tensor().data for request in requests])


def openvino_streams(job):
    return openvino(job, streams=job.threads)


if __name__ == "__main__":
    serve(prepare)
