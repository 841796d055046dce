"""`python -m lda_lib`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="python -m lda_lib")
