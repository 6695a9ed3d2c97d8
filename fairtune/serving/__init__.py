"""What a study found, in use: its trained models loaded, asked, described and handed on."""
