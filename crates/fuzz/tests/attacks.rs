//! Every file made to break a reader is told what it should be told, and breaks nothing.

use prl_fuzz::{TARGETS, attacks, clean, quiet};

#[test]
fn every_attack_is_told_what_it_should_be() {
    quiet();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (name, target) in TARGETS {
        for attack in attacks::all(name).unwrap() {
            tried += 1;
            wrong.extend(attack.check(target).err());
        }
    }
    clean();
    // Panics are silent here, so what is wrong is said before this test's own.
    wrong.iter().for_each(|wrong| eprintln!("{wrong}"));
    assert!(
        tried > 80 && wrong.is_empty(),
        "{tried} tried, {} wrong",
        wrong.len()
    );
}
