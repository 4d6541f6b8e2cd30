"""What a report is drawn with: HTML and the page's style, charts as SVG, pictures in the colours of classes."""
