"""`python -m hybrid_bt.train`: the door to the command `train`."""

from hybrid_bt.commands.train import main

if __name__ == "__main__":
    main()
