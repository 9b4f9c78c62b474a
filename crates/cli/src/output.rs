//! Printing without panics: `println!` and `eprintln!` panic if the reader has closed the pipe.

/// Prints a line on stdout; an error if it cannot be written. [`report`](crate::exit::report)
/// treats a closed pipe as success.
macro_rules! outln {
    ($($args:tt)*) => {
        std::io::Write::write_fmt(
            &mut std::io::stdout(),
            format_args!("{}\n", format_args!($($args)*)),
        )
    };
}

/// Prints a line on stderr; errors are ignored, since nothing is left to report them to.
macro_rules! errln {
    ($($args:tt)*) => {
        _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("{}\n", format_args!($($args)*)),
        )
    };
}

pub(crate) use {errln, outln};
