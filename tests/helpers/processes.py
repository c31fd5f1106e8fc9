"""A process of its own for what may crash or never end."""

from multiprocessing import Pipe, get_context


def in_own_process(function, *arguments):
    """What the function returns in a process of its own, so that a crash or endless loop of HDF5 fails one test only."""
    ours, theirs = Pipe(duplex=False)
    process = get_context("fork").Process(target=lambda: theirs.send(function(*arguments)))
    process.start()
    theirs.close()
    try:
        assert ours.poll(100), "endless"
        return ours.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"ended with {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
