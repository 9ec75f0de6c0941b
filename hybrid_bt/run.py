"""`python -m hybrid_bt.run`: the door to the command `run`."""

from hybrid_bt.commands.run import main

if __name__ == "__main__":
    main()
