# Runs "$@" as a replica's API process: detached from the caller, its exit code kept, nothing of it left.
# The caller makes this shell a session leader in the replica's folder; every process below inherits the
# locked descriptor of the file `alive`.
: > launched
(
    trap : TERM INT HUP
    "$@" &
    child=$!
    wait $child
    code=$?
    # A signal to this shell ends `wait` early; the child has ended only when it is no more.
    while kill -0 $child 2> /dev/null; do
        wait $child
        code=$?
    done
    echo $code > exit.new && mv exit.new exit
    # What the process left behind (request workers of a killed parent) must not go on serving.
    kill -KILL -$$
) < /dev/null &
