"""Pictures a second: the network alone at its best batch, the encoder, and the engine around it."""

import asyncio
import statistics
import time

import torch
from torch import Tensor

from benchmarks.gpu.networks import Named, networks
from benchmarks.gpu.part import Found, Plan, Verdict
from benchmarks.gpu.timing import in_turns
from meta_core.checkpoint import ENCODER, Model
from meta_core.episode import State
from meta_core.preprocess import Normalization
from service.cuda_encoder import CudaEncoder
from service.engine import Engine
from service.served import ServedModel

LEAST = 0.8
"""Of the raw forward pass."""
_BATCHES, _JOB_PICTURES, _AT_ONCE = (16, 32, 64, 128, 256, 512, 1024), 64, 32
_WAYS = ("contiguous", "channels_last")


def measure(plan: Plan) -> Found:
    """Each network in fp32, and in bf16 as a card may ask."""
    only = 1 if plan.tiny else None
    figures = [
        _network(named, precision, plan)
        for precision in ("fp32", "bf16")
        for named in networks(plan.device, precision=precision, only=only)
    ]
    rows = [
        [
            f"{each['network']}, {each['precision']}",
            f"{each['raw']:.0f}",
            f"{each['way']}, {each['batch']}",
            f"{each['onnx']:.0f}" if each["onnx"] else "",
            f"{each['encoder']:.0f}",
            f"{each['engine']:.0f}",
            f"{each['ratio']:.2f}",
        ]
        for each in figures
    ]
    verdicts = [
        Verdict(
            f"{each['network']}, {each['precision']}: {LEAST} of the raw forward wanted, {each['ratio']:.2f} came",
            each["ratio"] >= LEAST,
        )
        for each in figures
    ]
    columns = ["network", "raw", "by", "ORT CUDA", "encoder", "engine", "engine ÷ raw"]
    return Found("Encoding, pictures a second", columns, rows, figures, verdicts)


def _network(named: Named, precision: str, plan: Plan) -> dict[str, object]:
    model, batches = named.model, (2, 4) if plan.tiny else _BATCHES
    raw, way, batch = _best_raw(model, precision, batches, plan)
    pictures = torch.randint(0, 256, (max(batches), *model.card.input.shape), dtype=torch.uint8)
    onnx = _onnx_runtime(model, pictures[:batch], plan) if plan.device == "cuda" and precision == "fp32" else None
    encoder = CudaEncoder(model, device=plan.device)
    seconds = in_turns({"encoder": lambda: encoder.encode(pictures)}, rounds=plan.rounds, device=plan.device)
    served = ServedModel(model.card, model.learner, encoder)
    engine = asyncio.run(_engine_rate(served, plan))
    return {
        "network": named.title,
        "precision": precision,
        "raw": raw,
        "way": way,
        "batch": batch,
        "onnx": onnx,
        "encoder": len(pictures) / statistics.median(seconds["encoder"]),
        "engine": engine,
        "ratio": engine / raw,
    }


@torch.no_grad()
def _best_raw(model: Model, precision: str, batches: tuple[int, ...], plan: Plan) -> tuple[float, str, int]:
    """The network on normalized pictures that lie on the device already, by the better layout and batch."""
    device, shape = plan.device, model.card.input.shape
    best = (0.0, "", 0)
    for way in _WAYS:
        layout = torch.channels_last if way == "channels_last" else torch.contiguous_format
        model.learner.backbone.to(memory_format=layout)
        for batch in batches:
            inputs = torch.randn(batch, *shape, device=device).contiguous(memory_format=layout)

            def forward(inputs: Tensor = inputs) -> Tensor:
                with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                    return model.learner.encode(inputs)

            seconds = in_turns({"raw": forward}, rounds=plan.rounds, device=device)["raw"]
            best = max(best, (batch / statistics.median(seconds), way, batch))
    return best


def _onnx_runtime(model: Model, pictures: Tensor, plan: Plan) -> float | None:
    """The exported encoder by ONNX Runtime's CUDA provider, inputs and features on the device; None where it is not."""
    import onnxruntime

    provider = "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers() or not (model.folder / ENCODER).is_file():
        return None
    session = onnxruntime.InferenceSession(model.folder / ENCODER, providers=[(provider, {"use_tf32": "0"})])
    if session.get_providers()[0] != provider:
        return None
    inputs = Normalization.of(model.card.pictures, "cuda")(pictures.to("cuda")).contiguous()
    binding = session.io_binding()
    binding.bind_input("inputs", "cuda", 0, "float32", tuple(inputs.shape), inputs.data_ptr())
    binding.bind_output("features", "cuda")
    seconds = in_turns({"onnx": lambda: session.run_with_iobinding(binding)}, rounds=plan.rounds, device="cuda")
    return len(pictures) / statistics.median(seconds["onnx"])


async def _engine_rate(served: ServedModel, plan: Plan) -> float:
    """Pictures a second of many users' classify calls, decoded already, through the engine."""
    engine = Engine(max_pictures=10**6, max_seconds=600)
    engine.start()
    count, at_once = (2, 2) if plan.tiny else (_JOB_PICTURES, _AT_ONCE)
    pictures = torch.randint(0, 256, (count, *served.card.input.shape), dtype=torch.uint8)
    state: State = {"prototypes": torch.randn(5, *served.card.features)}
    done, until = 0, 0.0

    async def user() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await engine.predict(served, pictures, state)
            done += count

    for seconds in (plan.seconds / 4, plan.seconds):  # the first finds out how much fits one turn
        done, began = 0, time.perf_counter()
        until = began + seconds
        await asyncio.gather(*(user() for _ in range(at_once)))
        took = time.perf_counter() - began
    await engine.stop()
    return done / took
