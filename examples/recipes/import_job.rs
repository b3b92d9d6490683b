//! A job that imports a catalog, in a process of its own, and invalidates what it has changed in the store of the web nodes.
//!
//! ```sh
//! export CACHE_URL=redis://localhost CATALOG=catalog.db
//! cargo run --example recipes --features redis -- import_job               # the web node
//! cargo run --example recipes --features redis -- import products.txt      # the job; a line is: id, category, price
//! ```
//!
//! A process that ends between its commit and its invalidation would leave old pages. So the job writes the tags in the same transaction as
//! the rows, and deletes them once they are invalidated: what a failed job owes, the next one settles.

use std::{collections::BTreeSet, env, error::Error, fs, time::Duration};

use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use larder::{Cache, CacheTags};
use rusqlite::{Connection, OptionalExtension as _, params};

/// From here on, one tag that all responses have costs less than one for each product.
const MANY_TAGS: usize = 5_000;

pub(crate) fn app(cache: &Cache) -> Result<Router, Box<dyn Error>> {
    open()?;
    let day = cache.layer().ttl(Duration::from_secs(86_400)).tags(["catalog"]).status_header(true);
    Ok(Router::new()
        .route("/products/{id}", get(product).layer(day.clone().tags(["product:{id}"])))
        .route("/categories/{name}", get(category).layer(day.tags(["category:{name}"]))))
}

fn open() -> rusqlite::Result<Connection> {
    let catalog = Connection::open(env::var("CATALOG").unwrap_or_else(|_| "catalog.db".to_owned()))?;
    catalog.busy_timeout(Duration::from_secs(5))?;
    catalog.execute_batch(
        "CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, category TEXT, price INTEGER);
         CREATE TABLE IF NOT EXISTS owed (number INTEGER PRIMARY KEY AUTOINCREMENT, tag TEXT)",
    )?;
    Ok(catalog)
}

async fn product(Path(id): Path<u32>) -> Result<Response, StatusCode> {
    let find = |catalog: Connection| {
        let query = "SELECT category, price FROM products WHERE id = ?1";
        catalog.query_row(query, [id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))
    };
    let (category, price) = open().and_then(find).map_err(|_| StatusCode::NOT_FOUND)?;
    Ok((CacheTags::new(format!("category:{category}")), format!("{price}")).into_response())
}

async fn category(Path(name): Path<String>) -> Result<String, StatusCode> {
    let count = |catalog: Connection| {
        catalog.query_row("SELECT count(*) FROM products WHERE category = ?1", [name], |row| row.get::<_, u32>(0))
    };
    let count = open().and_then(count).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(format!("{count} products"))
}

struct Line<'f> {
    id: u32,
    category: &'f str,
    price: u32,
}

fn parse(line: &str) -> Option<Line<'_>> {
    let mut words = line.split_whitespace();
    Some(Line { id: words.next()?.parse().ok()?, category: words.next()?, price: words.next()?.parse().ok()? })
}

/// The job: one transaction, then one invalidation.
pub(crate) async fn import(cache: &Cache, file: Option<&str>) -> Result<(), Box<dyn Error>> {
    let file = fs::read_to_string(file.ok_or("name a file")?)?;
    let lines: Vec<_> = file.lines().map(parse).collect::<Option<_>>().ok_or("a line is: id, category, price")?;
    write(&lines)?;
    let tags = settle(cache).await?;
    println!("{} lines, {tags} tags", lines.len());
    Ok(())
}

fn write(lines: &[Line<'_>]) -> rusqlite::Result<()> {
    let mut catalog = open()?;
    let transaction = catalog.transaction()?;
    let mut tags = BTreeSet::new();
    for Line { id, category, price } in lines {
        let old = transaction.query_row("SELECT category FROM products WHERE id = ?1", [id], |row| row.get::<_, String>(0));
        // A product that moves changes both categories.
        tags.extend(old.optional()?.map(|old| format!("category:{old}")));
        tags.extend([format!("product:{id}"), format!("category:{category}")]);
        transaction.execute("INSERT OR REPLACE INTO products VALUES (?1, ?2, ?3)", params![id, category, price])?;
    }
    for tag in &tags {
        transaction.execute("INSERT INTO owed (tag) VALUES (?1)", [tag])?;
    }
    transaction.commit()
}

/// Invalidates what is owed. If that fails, the job has failed: nothing is forgotten, and the next job tries again.
async fn settle(cache: &Cache) -> Result<usize, Box<dyn Error>> {
    let owed = owed()?;
    let Some((last, _)) = owed.last().cloned() else { return Ok(0) };
    let count = owed.len();
    match count > MANY_TAGS {
        true => cache.invalidate_tags(["catalog"]).await?,
        false => cache.invalidate_tags(owed.into_iter().map(|(_, tag)| tag)).await?,
    };
    open()?.execute("DELETE FROM owed WHERE number <= ?1", [last])?;
    Ok(count)
}

fn owed() -> rusqlite::Result<Vec<(i64, String)>> {
    let catalog = open()?;
    let mut query = catalog.prepare("SELECT number, tag FROM owed ORDER BY number")?;
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
