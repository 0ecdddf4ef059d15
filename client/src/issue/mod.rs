//! Issuing from a file of rows: JSON Lines, one licence a line.
//!
//! The same file gives the same commands however often it is sent, whatever happened in between:
//! everything that goes into a command is a function of the file's digest, the chunk, and the
//! issuing unit's secret ([`prepare`]), and of what the file's journal keeps from the first time
//! ([`journal`]). So a second sending changes nothing and is answered from the record. Without that journal the commands are others,
//! and what they would issue again is refused: then the rows are found in the records that issued them ([`again`]), and have the
//! same answers.
//!
//! Life of a row: read and parsed ([`read`]), put into its unit's chunk ([`chunk`]), checked by its
//! type's rules, given its keyed tags, salted, sealed and signed ([`prepare`]), sent with as
//! many others as policy allows (1,000) until there is an answer, several chunks at once ([`run`]), and reported in the
//! file's order ([`report`]).
//!
//! Answers of the ledger are for ever: a row that was refused in a record stays refused for this
//! file. Whoever mends the cause sends the row in another file. Rows whose command policy allowed when the file was first sent,
//! and does not allow now, are not sent: they are answered `too-large`, and go in another file too.

pub mod again;
pub mod chunk;
pub mod journal;
pub mod prepare;
pub mod read;
pub mod report;
pub mod run;
pub mod supersede;

pub use report::{RowReport, Summary};
pub use run::{IssueOptions, issue_file};
