//! Tests of the `prl-reproduce` program, with a script in place of the `prl` binary.
#![cfg(unix)]

mod reproduce;
mod slurm;
