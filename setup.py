"""What pyproject.toml cannot declare: compiling protos/, shipping configs/."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent


class BuildWithProtos(build_py):
    """Compiles the protos into the package and copies configs beside them."""

    def run(self) -> None:
        """Runs the ordinary build, then adds generated code and configs."""
        super().run()
        target = ROOT if self.editable_mode else pathlib.Path(self.build_lib)
        compile_protos(target)
        if not self.editable_mode:
            shutil.copytree(ROOT / "configs", target / "kmax_tf" / "configs", dirs_exist_ok=True)


def compile_protos(target: pathlib.Path) -> None:
    """Writes kmax_tf/protos/*_pb2.py and their stubs under `target`."""
    import grpc_tools
    from grpc_tools import protoc

    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"  # google/protobuf/*.proto
    (target / "kmax_tf" / "protos").mkdir(parents=True, exist_ok=True)
    status = protoc.main(
        [
            "protoc",
            f"--proto_path=kmax_tf/protos={ROOT / 'protos'}",
            f"--proto_path={well_known}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            *(f"kmax_tf/protos/{path.name}" for path in sorted((ROOT / "protos").glob("*.proto"))),
        ]
    )
    if status:
        raise SystemExit(f"protoc failed with status {status}")


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildWithProtos})
