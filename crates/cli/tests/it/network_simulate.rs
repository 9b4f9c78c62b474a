//! `prl simulate --via`: lists of a server return what those of its run do.

use crate::network_remote::Served;
use crate::slow_simulate::{prl, shop, simulate};

#[test]
fn lists_of_a_server_return_what_those_of_its_run_do() {
    let flags = "--sessions 150 --arm mu=1,sequence_wise=true";
    let local = simulate(flags);
    let several = "--sessions 150 --arm mu=1 --arm mu=2,k=5,exclude_seen=true";
    let server = Served::start(&shop().join("run"));
    let via = format!("--via {} --connections 3", server.1);
    assert_eq!(simulate(&format!("{several} {via}")), simulate(several));
    let stored = format!("{flags} {via} --stored");
    assert_eq!(simulate(&stored), local);
    // The server has these sessions already.
    let (code, _, stderr) = prl(shop(), &format!("simulate {stored}"));
    assert!(
        code == 1 && stderr.contains("it was stored before"),
        "{stderr}"
    );
    let (code, _, stderr) = prl(shop(), &format!("simulate {several} {via} --stored"));
    assert!(code == 2 && stderr.contains("give one arm"), "{stderr}");
}
