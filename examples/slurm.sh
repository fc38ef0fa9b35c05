#!/bin/sh
# One sweep on several machines of a SLURM cluster, which share this folder and the logs folder:
#   sbatch [--nodes 4 ...] examples/slurm.sh configs/fmnist_stdcnn.yaml [options of tfsgd.sweep]
# The first machine deals out the trials, the others join it. Submitted again, the sweep goes on.
#SBATCH --job-name=tfsgd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=24:00:00
#SBATCH --requeue
set -eu
PYTHON=${PYTHON:-.venv/bin/python}
LISTEN=${LISTEN:-$(hostname -i | cut -d' ' -f1):$((20000 + SLURM_JOB_ID % 20000))}
export PYTHON LISTEN
exec srun sh -c '
if [ "$SLURM_PROCID" = 0 ]; then
    exec "$PYTHON" -m tfsgd.sweep "$@" --listen "$LISTEN"
fi
for try in 1 2 3 4 5 6 7 8 9 10 11 12; do  # the first machine needs a moment
    sleep 5
    "$PYTHON" -m tfsgd.sweep "$@" --join "$LISTEN" && exit 0
    code=$?
    [ "$code" = 2 ] || exit "$code"
done
exit 2' tfsgd "$@"
