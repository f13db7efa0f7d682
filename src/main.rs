//! The `chronolith` binary.

fn main() -> std::process::ExitCode {
    chronolith::cli::main()
}
