from benchmarks import gpu_measure
from diffwave_jax.kernels.target import Target


def test_runs_and_finds_every_implementation_accurate(capsys):
    assert gpu_measure.main(["--quick", "--tflops", "1", "--bandwidth", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in lines[2:-1]] == ["xla", "triton"]
    assert lines[-1] == "accurate"


def test_says_what_to_do_where_there_is_no_gpu(capsys):
    assert gpu_measure.main([]) == 2
    assert "there is no GPU here" in capsys.readouterr().err


def test_takes_what_the_card_supports():
    assert gpu_measure.implementations(Target("cuda", (8, 6))) == ["xla", "triton"]
    assert gpu_measure.implementations(Target("cuda", (7, 5))) == ["xla"]
