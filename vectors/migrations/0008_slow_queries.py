from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('vectors', '0007_uploads'),
    ]

    operations = [
        migrations.CreateModel(
            name='SlowQuery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField()),
                ('collection', models.CharField(max_length=100)),
                ('took_ms', models.FloatField()),
                ('detail', models.JSONField()),
                ('explain', models.TextField(null=True)),
            ],
            options={
                'db_table': 'vectors_slow_query',
            },
        ),
    ]
