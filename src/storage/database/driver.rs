//! The bounds that make one implementation serve both drivers, in one place.

/// An implementation for every driver, with all that the statements need of one.
macro_rules! for_every_driver {
    ($($attribute:meta)? ; impl $(($trait:ident))? { $($body:tt)* }) => {
        $(#[$attribute])?
        impl<DB> $($trait for)? $crate::storage::database::sql::Sql<DB>
        where
            DB: $crate::storage::database::sql::Dialect,
            DB::Arguments: sqlx::IntoArguments<DB>,
            for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
            usize: sqlx::ColumnIndex<DB::Row>,
            bool: sqlx::Type<DB> + for<'r> sqlx::Decode<'r, DB> + for<'q> sqlx::Encode<'q, DB>,
            i64: sqlx::Type<DB> + for<'r> sqlx::Decode<'r, DB> + for<'q> sqlx::Encode<'q, DB>,
            uuid::Uuid: sqlx::Type<DB> + for<'r> sqlx::Decode<'r, DB> + for<'q> sqlx::Encode<'q, DB>,
            chrono::DateTime<chrono::Utc>: sqlx::Type<DB> + for<'r> sqlx::Decode<'r, DB> + for<'q> sqlx::Encode<'q, DB>,
            String: sqlx::Type<DB> + for<'r> sqlx::Decode<'r, DB> + for<'q> sqlx::Encode<'q, DB>,
            Option<String>: for<'q> sqlx::Encode<'q, DB>,
            Option<i64>: for<'q> sqlx::Encode<'q, DB>,
            Option<uuid::Uuid>: for<'q> sqlx::Encode<'q, DB>,
        {
            $($body)*
        }
    };
}
pub(super) use for_every_driver;
