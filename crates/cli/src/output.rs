//! What is said to whoever called, who may have stopped listening: `println!` and `eprintln!` would panic then, and
//! `writeln!` on stderr would end the command.

/// A line on stdout. An error if it cannot be written; of a reader that is gone, [`report`](crate::exit::report) makes none.
macro_rules! outln {
    ($($said:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($said)*)))
    };
}

/// A line on stderr, which nobody need read.
macro_rules! errln {
    ($($said:tt)*) => {
        _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($said)*)))
    };
}

pub(crate) use {errln, outln};
