from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('vectors', '0004_segments_aliases_recall'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='requests_per_second',
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name='apikey',
            name='burst',
            field=models.IntegerField(null=True),
        ),
    ]
