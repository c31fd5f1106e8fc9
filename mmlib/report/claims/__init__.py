"""What the four papers claim and what becomes of it; `page()` judges anew from the tables each time."""

from mmlib.report.claims.page import page
