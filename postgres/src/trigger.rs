//! Triggers for writers that do not push tags themselves.

use larder::{Error, IntoTemplates};

/// Returns the SQL of triggers by which every write to `table` pushes tags, whoever writes: another program, a script, `psql`. For a migration
/// of the application, after [`MIGRATION`](crate::outbox::MIGRATION); running it again replaces them.
///
/// Templates are what [`CacheLayer::tags`](larder::CacheLayer::tags) takes: `"post:{id}"`, whose values stand in the tag as they are, or `Tag::POST` of an
/// enum that `cache_tags!` has made, whose values are encoded as larder encodes captures. A name in braces is a column of `table`, as text. So use
/// columns whose text is what is in the URL, such as numbers, text and UUIDs.
///
/// | write | tags |
/// |---|---|
/// | `INSERT` | of the new row |
/// | `UPDATE` | of the old row and of the new one; none if the row stays as it was |
/// | `DELETE` | of the old row |
/// | `TRUNCATE` | the templates without columns; everything, if another one has columns |
///
/// A template with a column that is NULL makes no tag. Each written row becomes a row of the outbox. For a bulk load, disable the trigger
/// (`ALTER TABLE … DISABLE TRIGGER larder_outbox`) and push one tag. PostgreSQL does not fire triggers for a session with
/// `session_replication_role = replica`, such as that of a logical subscription.
///
/// `table` is a name, or a schema and a name with a dot between them, as in `pg_class`: in lower case, unless it was created in quotes.
///
/// ```
/// let sql = larder_postgres::trigger("posts", ("post:{id}", "author:{author}:posts", "posts"))?;
/// assert!(sql.contains("AFTER INSERT OR UPDATE OR DELETE ON \"posts\""));
/// # Ok::<(), larder::Error>(())
/// ```
///
/// # Errors
/// [`Error::is_invalid_input`] if there is no template, one is empty or has a brace without its counterpart, or the name of the table is empty or too long.
pub fn trigger<S>(table: &str, templates: impl IntoTemplates<S>) -> Result<String, Error> {
    let mut parsed = Vec::new();
    templates.for_each_template(|template, encodes| parsed.push(Template::parse(template, encodes)));
    let templates = parsed.into_iter().collect::<Result<Vec<_>, _>>()?;
    if templates.is_empty() {
        return Err(Error::invalid_input("a trigger needs a template of a tag, such as \"post:{id}\""));
    }
    let (function, table) = (function(table)?, qualified(table));
    Ok(sql(&function, &table, &templates))
}

fn sql(function: &str, table: &str, templates: &[Template]) -> String {
    let tags = |row: &str| templates.iter().map(|template| template.expression(row)).collect::<Vec<_>>().join(", ");
    let truncated = match templates.iter().all(Template::is_constant) {
        true => format!("ARRAY[{}]", tags("OLD")),
        false => "NULL".to_owned(),
    };
    let (old, new) = (tags("OLD"), tags("NEW"));
    format!(
        r#"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $larder$
DECLARE
    larder_tags text[] := '{{}}';
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO larder_outbox (tags) VALUES ({truncated});
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD *= NEW THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        larder_tags := ARRAY[{old}]::text[];
    END IF;
    IF TG_OP <> 'DELETE' THEN
        larder_tags := larder_tags || ARRAY[{new}]::text[];
    END IF;
    larder_tags := ARRAY(SELECT DISTINCT tag FROM unnest(larder_tags) AS tag WHERE tag <> '');
    IF larder_tags <> '{{}}' THEN
        INSERT INTO larder_outbox (tags) VALUES (larder_tags);
    END IF;
    RETURN NULL;
END
$larder$;
DROP TRIGGER IF EXISTS larder_outbox ON {table};
CREATE TRIGGER larder_outbox AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}();
DROP TRIGGER IF EXISTS larder_outbox_truncate ON {table};
CREATE TRIGGER larder_outbox_truncate AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}();
"#
    )
}

/// Returns the name of the trigger function, in the schema of the outbox.
fn function(table: &str) -> Result<String, Error> {
    /// The longest name that PostgreSQL does not cut.
    const LONGEST: usize = 63;
    let name = format!("larder_outbox_{}", table.replace('.', "_"));
    let is_named = table.split('.').all(|part| !part.is_empty()) && !table.contains('\0');
    match is_named && name.len() <= LONGEST {
        true => Ok(quoted(&name)),
        false => {
            Err(Error::invalid_input(format!("the table `{table}` cannot have a trigger: its name must have 1 to 49 bytes")))
        }
    }
}

fn qualified(table: &str) -> String {
    table.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

/// Returns a name of SQL, in quotes.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns text as a literal of SQL, whatever the setting `standard_conforming_strings`.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A template of a tag, with columns in place of captures.
#[derive(Debug)]
struct Template {
    parts: Vec<Part>,
    /// Whether values are encoded.
    encodes: bool,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Column(String),
}

impl Template {
    /// Reads a template as larder does; `{{` and `}}` are literal braces.
    fn parse(template: &str, encodes: bool) -> Result<Self, Error> {
        let refused = |why| Err(Error::invalid_input(format!("the template `{template}` of a tag {why}")));
        let (mut parts, mut text) = (Vec::new(), String::new());
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            text.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                text.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let Some((name, after)) = brace.strip_prefix('{').and_then(|inside| inside.split_once('}')) else {
                return refused("has a brace without its counterpart; a literal brace is written twice");
            };
            let name = name.trim_start_matches('*');
            if name.is_empty() {
                return refused("has braces without the name of a column");
            }
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Column(name.to_owned()));
            rest = after;
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        if template.is_empty() || template.contains('\0') {
            return refused("is empty, or has a NUL");
        }
        // Function bodies stand between these.
        if template.contains("$larder$") {
            return refused("contains `$larder$`");
        }
        Ok(Self { parts, encodes })
    }

    fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Returns an expression for the tag of `row`, which is NULL if a column is.
    fn expression(&self, row: &str) -> String {
        let parts = self.parts.iter().filter(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        let parts = parts.map(|part| match part {
            Part::Text(text) => literal(text),
            Part::Column(name) if self.encodes => format!("larder_escape({row}.{}::text)", quoted(name)),
            Part::Column(name) => format!("{row}.{}::text", quoted(name)),
        });
        parts.collect::<Vec<_>>().join(" || ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(template: &str, encodes: bool) -> String {
        Template::parse(template, encodes).unwrap().expression("NEW")
    }

    #[test]
    fn columns_and_text_are_quoted() {
        assert_eq!(expression("posts", false), "'posts'");
        assert_eq!(expression("post:{id}", false), r#"'post:' || NEW."id"::text"#);
        assert_eq!(expression("post:{id}", true), r#"'post:' || larder_escape(NEW."id"::text)"#);
        assert_eq!(expression("{*a\"b}/{{o'\\}}", false), r#"NEW."a""b"::text || E'/{o''\\}'"#);
    }

    #[test]
    fn mistakes_are_refused() {
        for template in ["", "post:{id", "post:id}", "post:{}", "a\0", "$larder$"] {
            let error = trigger("posts", template).unwrap_err();
            assert!(error.is_invalid_input() && error.to_string().contains(template), "{error}");
        }
        assert!(trigger("posts", Vec::<String>::new()).is_err());
        for table in ["", "a.", &"t".repeat(50)] {
            assert!(trigger(table, "posts").unwrap_err().to_string().contains("1 to 49 bytes"));
        }
    }

    #[test]
    fn names_of_tables_are_quoted() {
        let sql = trigger("app.Posts\"", "posts").unwrap();
        assert!(sql.contains(r#"ON "app"."Posts""" FOR EACH ROW EXECUTE FUNCTION "larder_outbox_app_Posts"""()"#), "{sql}");
    }
}
