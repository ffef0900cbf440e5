"""`istvt checks`: inspect this machine and the packages on it."""

from dataclasses import asdict

from istvt.commands.output import JsonOption, Output


def checks(json: JsonOption = None) -> int:
    """Show this machine's hardware, which packages work, and how to fix the others."""
    from istvt.checks import exit_code, format_checks, run_checks

    output = Output(json)
    results = run_checks()
    output.say(format_checks(results))
    output.write([asdict(check) for check in results])
    return exit_code(results)
