#!/bin/sh
# rustc wrapper for the fuzz targets (`cargo xtask reliability --only libfuzzer`). Parsers are
# instrumented; the query engine of polars, which only receives parsed data, is not: it would take
# most of the build and run time.
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
