//! Every malformed file gives its expected result.

use prl_fuzz::{TARGETS, attacks, clean, quiet};

#[test]
fn attacks_give_their_expected_results() {
    quiet();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (name, target) in TARGETS {
        for attack in attacks::all(name).unwrap() {
            tried += 1;
            wrong.extend(attack.check(target).err());
        }
    }
    clean();
    // The panic hook is silent: differences are printed before the assertion fails.
    for difference in &wrong {
        eprintln!("{difference}");
    }
    assert!(
        tried > 80 && wrong.is_empty(),
        "{tried} tried, {} wrong",
        wrong.len()
    );
}
