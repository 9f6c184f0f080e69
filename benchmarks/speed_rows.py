"""Rows of the results table: time to accuracy, fused units, embedding."""

from benchmarks.result_rows import result, seeds, spread


def speed_rows() -> list[tuple[str, str, str]]:
    """What, measured, and on what."""
    return [time_to_accuracy(), *fused_units(), *embedding()]


def time_to_accuracy() -> tuple[str, str, str]:
    """Ours beside a plain loop, both to the end of their own epochs."""
    found = result("time_to_accuracy")
    ours, plain = found["sides"]["skipway"], found["sides"]["plain loop"]
    return (
        f"resnet20 on {found['data']}: share of a plain loop's time",
        f"{found['share of time']:.2f}",
        f"`fastest-cifar`, {found['epochs']['skipway']} epochs: {spread(ours['accuracy'])} % on test after "
        f"{ours['seconds']['mean']:.0f} s ({seeds(ours['accuracy']['all'])}); plain loop, "
        f"{found['epochs']['plain loop']} epochs: {spread(plain['accuracy'])} % after "
        f"{plain['seconds']['mean']:.0f} s ({seeds(plain['accuracy']['all'])}); chosen on val",
    )


def fused_units() -> list[tuple[str, str, str]]:
    """Training steps with batch norm, addition and ReLU in one kernel over steps without."""
    found = result("fused_units")
    return [
        (
            f"Training step with fused units, {case}",
            f"{one['times_faster']:.2f} times faster",
            f"by the processor's time {one['times_faster_processor']:.2f}; than torch's operations, "
            f"median of {found['turns']} turns",
        )
        for case, one in found["cases"].items()
    ]


def embedding() -> list[tuple[str, str, str]]:
    """Embedding beside predicting, and one search."""
    found = result("embed")
    rates, search = found["images_a_second"], found["search_s"]
    return [
        (
            f"Images a second embedded over predicted, {found['files']:,} files",
            f"{found['ratio']['clock']:.2f}",
            f"{found['network']} at {found['size']} pixels: {rates['embed']:.0f} and {rates['predict']:.0f}, median of "
            f"{found['turns']} turns",
        ),
        (
            f"The 10 nearest of {found['files']:,} embeddings",
            f"{1000 * search['median']:.1f} ms",
            f"at most {1000 * search['longest']:.1f} ms; an exact search",
        ),
    ]
