from django.db import migrations

# Tables of collections made before their vectors were checked by the table itself. One that cannot be had at once
# (an index is being built) stays without the check: its points are written the way that does without it.
CHECKS = """
DO $$
DECLARE found record;
BEGIN
    SET LOCAL lock_timeout = '2s';
    FOR found IN SELECT 'p_' || replace(c.id::text, '-', '') AS name, c.metric FROM vectors_collection c
        JOIN pg_class r ON r.relnamespace = 'vectors_data'::regnamespace
            AND r.relname = 'p_' || replace(c.id::text, '-', '')
        WHERE c.metric NOT IN ('hamming', 'jaccard')
            AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = r.oid AND k.conname = 'norm')
    LOOP
        BEGIN
            EXECUTE format(
                'ALTER TABLE vectors_data.%I ADD CONSTRAINT norm CHECK (vector_norm(embedding) BETWEEN %s'
                ' AND 1000000000000000000) NOT VALID',
                found.name, CASE found.metric WHEN 'cosine' THEN '1e-18' ELSE '0' END
            );
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
END $$
"""


class Migration(migrations.Migration):

    dependencies = [
        ('vectors', '0008_slow_queries'),
    ]

    operations = [
        migrations.RunSQL(CHECKS, migrations.RunSQL.noop),
    ]
