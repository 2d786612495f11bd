"""`lookonce model`: from somebody's ONNX to a version that Triton serves."""

import typer

from lookonce.cli import engine, importing, inspecting, shelf, verify

app = typer.Typer(no_args_is_help=True, help="Inspect, import, verify, sign and activate models.")

app.command("inspect")(inspecting.inspect)
app.command("import")(importing.import_)
app.command("verify")(verify.verify)
app.command("list")(shelf.list_models)
app.command("show")(shelf.show)
app.command("activate")(shelf.activate)
app.command("sign")(shelf.sign)
app.command("check-signature")(shelf.check_signature)
app.command("engine")(engine.engine)
app.command("import-engine")(engine.import_engine)
