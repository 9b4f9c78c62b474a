#!/bin/sh
# rustc for the fuzz targets (`cargo xtask reliability --only libfuzzer`): what reads is instrumented as cargo says; the engine of
# polars, which is handed what was read, is not, because it would take longest to build and to run.
rustc=$1
shift
case " $* " in
*" --crate-name polars_expr "* | *" --crate-name polars_lazy "* | *" --crate-name polars_mem_engine "* | \
    *" --crate-name polars_plan "* | *" --crate-name polars_stream "*)
    for arg; do
        shift
        case $arg in
        -Cpasses=sancov-module | -Cllvm-args=-sanitizer-coverage-* | -Zsanitizer=*) ;;
        *) set -- "$@" "$arg" ;;
        esac
    done
    ;;
esac
exec "$rustc" "$@"
