//! Tests of `prl-reproduce` from outside, with a script in place of `prl`.
#![cfg(unix)]

mod reproduce;
mod slurm;
