"""The name under which job scripts of versions up to 0.9 start `tfsgd.sweeping.job_entrypoint`; they may wait in a queue."""

from tfsgd.sweeping.job_entrypoint import main

if __name__ == "__main__":
    main()
